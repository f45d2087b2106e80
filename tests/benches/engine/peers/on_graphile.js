// graphile-worker: `on_graphile.js URL-OF-POSTGRESQL` adds tasks and runs them.
//
// With the batches of its documentation on performance: it fetches tasks five hundred at a time into its own memory, and
// notes their ends together. Without them it is about a tenth as fast.
const { Logger, makeWorkerUtils, run } = require("graphile-worker");
const { Pool } = require("pg");
const { serve } = require("./load.js");

async function main(url) {
  const pool = new Pool({ connectionString: url, max: 10 });
  const logger = new Logger(() => () => {});
  const utils = await makeWorkerUtils({ pgPool: pool, logger });
  await utils.migrate();
  const preset = {
    worker: { concurrentJobs: 24, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 },
  };
  let done = 0;
  const nothing = async () => {
    done += 1;
  };
  await run({ pgPool: pool, logger, preset, noHandleSignals: true, taskList: { nothing } });
  await serve({
    add: async (count) => {
      done -= count;
      await utils.addJobs(Array.from({ length: count }, () => ({ identifier: "nothing", payload: null })));
    },
    drained: async () => {
      // The database is asked only when all were called: counting rows is work as well.
      for (let left = 1; left > 0; await new Promise((wake) => setTimeout(wake, 5))) {
        left = done < 0 ? 1 : (await pool.query("select count(*)::int as left from graphile_worker.jobs")).rows[0].left;
      }
    },
  });
}

main(process.argv[2]);
