import { keepsItsPromises } from "./promises.js";

keepsItsPromises("websocket");
