//! A shop's checkout: `cargo run -p orlop-worker --example orders -- worker`, and in another terminal `-- start 7`.

use clap::{Parser, Subcommand};
use orlop_worker::client::Client;
use orlop_worker::{Failure, RetryPolicy, TaskContext, Worker, WorkflowContext};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Durable orders.
#[derive(Parser)]
struct Arguments {
    /// Where the engine is.
    #[arg(long, global = true, default_value = "http://127.0.0.1:7420")]
    address: String,
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Runs tasks and workflows until Ctrl-C.
    Worker,
    /// Orders, and waits for what comes of it.
    Start { order: u64 },
}

/// What a checkout is called with.
#[derive(Clone, Serialize, Deserialize)]
struct Order {
    order: u64,
}

/// What comes of it.
#[derive(Debug, Serialize, Deserialize)]
struct Receipt {
    order: u64,
    total: f64,
    charge: String,
    parcel: String,
}

async fn charge(context: TaskContext, Order { order }: Order) -> Result<String, Failure> {
    context.log("info", format!("charging for order {order}, attempt {}", context.attempt()));
    tokio::time::sleep(Duration::from_millis(50)).await;
    Ok(format!("charge-{order}"))
}

/// Orders whose number is a multiple of 13 cannot be shipped.
async fn ship(context: TaskContext, Order { order }: Order) -> Result<String, Failure> {
    if order.is_multiple_of(13) {
        return Err(Failure::new(format!("order {order} is out of stock")).category("out-of-stock").is_final());
    }
    for part in 1..=4 {
        context.progress(f64::from(part) / 4.0);
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Ok(format!("parcel-{order}"))
}

async fn checkout(context: WorkflowContext, input: Order) -> Result<Receipt, Failure> {
    let order = input.order;
    let total = context.step("price", move || async move { Ok(19.99 + order as f64) }).await?;
    let mut saga = context.saga();
    let charge: String = context.task("orders.charge", &input).start_to_close(Duration::from_secs(30)).await?;
    let refunded = charge.clone();
    saga.compensate("charge", move || {
        let charge = refunded.clone();
        async move {
            println!("refunding {charge}");
            Ok(())
        }
    });
    // What fails from here on, or is cancelled, is to be settled.
    let shipped = async {
        context.sleep(Duration::from_millis(200)).named("packing").await?;
        let thrice = RetryPolicy { attempts_max: Some(3), ..RetryPolicy::default() };
        context.task::<String>("orders.ship", &input).retry(thrice).await
    };
    let shipped = shipped.await;
    let parcel = saga.settle(shipped).await?;
    Ok(Receipt { order, total, charge, parcel })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let Arguments { address, role } = Arguments::parse();
    match role {
        Role::Worker => {
            let worker = Worker::builder(address)
                .task("orders.charge", charge)
                .task("orders.ship", ship)
                .workflow("orders.checkout", checkout)
                .build()?;
            let stop = CancellationToken::new();
            let stopping = stop.clone();
            tokio::spawn(async move {
                // Without a signal handler the worker is stopped by the signal itself.
                if tokio::signal::ctrl_c().await.is_ok() {
                    stopping.cancel();
                }
            });
            worker.run(stop).await;
        }
        Role::Start { order } => {
            let client = Client::connect(address).await?;
            let run = client.start("orders.checkout", &Order { order }).key(format!("order-{order}")).await?;
            println!("{} runs", run.id());
            match run.outcome::<Receipt>().await? {
                Ok(receipt) => println!("{receipt:?}"),
                Err(failure) => println!("it failed: {failure}"),
            }
        }
    }
    Ok(())
}
