// The loads of ../load.rs, for peers in JavaScript: commands from standard input, a line of JSON for each.
//
//   latency STEPS COUNT              one client, one workflow after another
//   steps WORKFLOWS STEPS SECONDS    so many clients, each one workflow after another
//   tasks COUNT BATCH                so many tasks that do nothing, added in batches, until the last is done
const readline = require("node:readline");

const quantile = (times, part) => times[Math.min(Math.floor(times.length * part), times.length - 1)];

async function latency(peer, steps, count) {
  const times = [];
  for (let i = 0; i < count; i++) {
    const began = performance.now();
    await peer.workflow(steps);
    times.push(performance.now() - began);
  }
  times.sort((one, other) => one - other);
  return { p50: quantile(times, 0.5), p99: quantile(times, 0.99) };
}

async function steps(peer, workflows, steps, seconds) {
  const began = performance.now();
  const end = began + seconds * 1000;
  const client = async () => {
    let done = 0;
    while (performance.now() < end) {
      await peer.workflow(steps);
      done += steps;
    }
    return done;
  };
  const done = (await Promise.all(Array.from({ length: workflows }, client))).reduce((sum, one) => sum + one, 0);
  return { done, rate: (done * 1000) / (performance.now() - began) };
}

async function tasks(peer, count, batch) {
  const began = performance.now();
  for (let added = 0; added < count; added += batch) {
    await peer.add(Math.min(batch, count - added));
  }
  const added = performance.now() - began;
  await peer.drained();
  return { added: (count * 1000) / added, rate: (count * 1000) / (performance.now() - began) };
}

exports.serve = async (peer) => {
  const say = (figures) => process.stdout.write(JSON.stringify(figures) + "\n");
  say({ ready: true });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [load, ...numbers] = line.split(" ");
    say(await { latency, steps, tasks }[load](peer, ...numbers.map(Number)));
  }
  // Whoever asked has gone.
  process.exit(0);
};
