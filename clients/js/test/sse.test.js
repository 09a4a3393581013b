import { keepsItsPromises } from "./promises.js";

keepsItsPromises("sse");
