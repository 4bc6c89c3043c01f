/** One connection for all tabs of a browser. The first comments of the two modules describe it. */

export { startAnswer } from './answer_start.js';
export { SharedConnection } from './shared_connection.js';
