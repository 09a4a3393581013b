// What the package offers; index.d.ts describes it.

export { MqttStream } from "./client.js";
export { ProblemError } from "./problem.js";
