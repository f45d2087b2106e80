// Restate: `on_restate.js service PORT` runs the steps, `on_restate.js client ADMIN INGRESS SERVICE` tells Restate of the
// service and asks for workflows over HTTP.
//
// Its kind `workflow`, which is started by a key of its own, was not slower than a handler of a service when tried.
const http = require("node:http");
const { serve } = require("./load.js");

function service(port) {
  const restate = require("@restatedev/restate-sdk");
  const bench = restate.service({
    name: "bench",
    handlers: {
      steps: async (context, count) => {
        let sum = 0;
        for (let number = 0; number < count; number++) {
          // Restate's log has it, synced, before the next begins.
          sum += await context.run("step", () => number);
        }
        return sum;
      },
    },
  });
  restate.serve({ services: [bench], port: Number(port) });
}

async function again(what) {
  for (let tries = 0; ; tries++) {
    try {
      return await what();
    } catch (error) {
      if (tries === 100) throw error;
      await new Promise((wake) => setTimeout(wake, 200));
    }
  }
}

async function client(admin, ingress, service) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1000 });
  const headers = { "content-type": "application/json" };
  // One request starts it and waits for its result.
  const workflow = (steps) =>
    new Promise((resolve, reject) => {
      const request = http.request(`${ingress}/bench/steps`, { agent, headers, method: "POST" }, (answer) => {
        let text = "";
        answer.setEncoding("utf8");
        answer.on("data", (part) => (text += part));
        answer.on("end", () => (answer.statusCode === 200 ? resolve(text) : reject(new Error(text))));
      });
      request.on("error", reject);
      request.end(JSON.stringify(steps));
    });
  await again(async () => {
    const body = JSON.stringify({ uri: service });
    const answer = await fetch(`${admin}/deployments`, { method: "POST", headers, body });
    if (!answer.ok) throw new Error(await answer.text());
  });
  const sum = await again(() => workflow(10));
  if (sum !== "45") throw new Error(`ten steps give ${sum}`);
  await serve({ workflow });
}

const [role, ...where] = process.argv.slice(2);
({ service, client })[role](...where);
