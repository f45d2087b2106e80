//! Engines that share a PostgreSQL: one works, the other one stands by.

use crate::crashes::begun;
use crate::world::{PATIENCE, World};
use nix::sys::signal::Signal;
use orlop_testbed::{Postgres, program, wait_for};
use serde_json::json;
use std::process::Command;

/// Runs under way, of 12 steps each.
fn walks(world: &World, count: usize) -> Vec<String> {
    (0..count).map(|_| world.begin("test.walk", r#"{"steps": 12, "pause_ms": 40}"#)).collect()
}

/// All of them end, and of each at most so many steps ran again: those under way when something was killed.
fn end_once(world: &World, runs: &[String], again_at_most: usize) {
    for run in runs {
        assert_eq!(world.result("workflow", run), json!(132), "{run}");
        let shown = world.json(&["workflow", "show", run]);
        let timeline = shown["timeline"].as_array().expect("a timeline");
        let of = |what: &str| timeline.iter().filter(|entry| entry["what"] == what).count();
        assert_eq!((of("step done"), of("finished")), (12, 1), "{shown:#}");
        let begun = begun(world).into_iter().filter(|(line, _)| line.starts_with(run.as_str()));
        let times: Vec<usize> = begun.map(|(_, times)| times).collect();
        assert_eq!(times.len(), 12);
        let again = times.iter().sum::<usize>() - 12;
        assert!(again <= again_at_most, "{run}: {again} steps ran again");
    }
}

fn has_the_store(world: &World, engine: usize, times: usize) {
    let has = || (world.log_of(engine).matches("the engine has the store").count() >= times).then_some(());
    wait_for(&format!("engine {engine} to have the store"), PATIENCE, has, || world.log_of(engine));
}

/// What an engine says that only stands by.
fn stands_by(world: &World, engine: usize) {
    let asked = || {
        let mut command = Command::new(program("orlopctl"));
        let output = command.args(["workflow", "ls", "--engine", &world.address_of(engine)]).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code() == Some(5) && said.contains("another engine (127.0.0.1:")).then_some(())
    };
    wait_for(&format!("engine {engine} to stand by"), PATIENCE, asked, || world.log_of(engine));
}

#[test]
fn one_that_is_killed_is_succeeded_and_no_recorded_step_runs_again() {
    let postgres = Postgres::start();
    let mut world = World::sharing(postgres.database("work"), 2);
    world.start_worker(&[]);
    stands_by(&world, 1);
    let runs = walks(&world, 8);
    world.wait_for_lines("ends", 30);
    world.kill(0);
    has_the_store(&world, 1, 1);
    world.start(0);
    stands_by(&world, 0);
    world.wait_for_lines("ends", 60);
    world.kill(1);
    end_once(&world, &runs, 2);
    has_the_store(&world, 0, 2);
}

#[test]
fn one_that_stops_in_order_gives_the_store_to_the_other() {
    let postgres = Postgres::start();
    let mut world = World::sharing(postgres.database("work"), 2);
    world.start_worker(&[]);
    let runs = walks(&world, 3);
    world.wait_for_lines("ends", 6);
    world.stop_engine();
    end_once(&world, &runs, 1);
    let left = postgres.sql("work", "SELECT epoch FROM orlop_engine.lease");
    assert_eq!(left, "2");
}

#[test]
fn one_that_stood_still_finds_that_it_was_succeeded() {
    let postgres = Postgres::start();
    let mut world = World::sharing(postgres.database("work"), 2);
    world.start_worker(&[]);
    let runs = walks(&world, 3);
    world.wait_for_lines("ends", 6);
    world.signal(0, Signal::SIGSTOP);
    has_the_store(&world, 1, 1);
    world.wait_for_lines("ends", 24);
    world.signal(0, Signal::SIGCONT);
    end_once(&world, &runs, 1);
    stands_by(&world, 0);
}

#[test]
fn a_database_that_begins_again_is_taken_over_again_and_nothing_acknowledged_is_lost() {
    let mut postgres = Postgres::start();
    let mut world = World::sharing(postgres.database("work"), 1);
    world.start_worker(&[]);
    let runs = walks(&world, 5);
    for (round, ends) in [(1, 10), (2, 30)] {
        world.wait_for_lines("ends", ends);
        postgres.halt();
        postgres.begin();
        has_the_store(&world, 0, round + 1);
    }
    end_once(&world, &runs, 2);
}

#[test]
fn the_password_of_the_store_is_not_told() {
    let postgres = Postgres::start();
    let url = postgres.database("work").replace("postgres@", "postgres:verysecret@");
    let world = World::sharing(url.clone(), 1);
    let log = world.log_of(0);
    assert!(log.contains("PostgreSQL in /") && !log.contains("verysecret"), "{log}");
    let mut command = Command::new(program("orlop-engine"));
    let output = command.args(["--print-config", "--store", &url, "serve"]).output().expect("it runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains("postgres:…@") && !printed.contains("verysecret"), "{printed}");
}
