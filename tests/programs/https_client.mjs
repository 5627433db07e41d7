// node:https: one request. IP PORT NAME; the key, if any, is in KM_KEY.
import https from "node:https";

const [host, port, servername] = process.argv.slice(2);
const key = process.env.KM_KEY;
const headers = { host: servername, ...(key && { "x-api-key": key }) };
const request = https.request({ host, port, servername, path: "/", headers }, (answer) => {
  answer.on("data", () => {});
  answer.on("end", () => console.log(answer.statusCode));
});
request.end();
