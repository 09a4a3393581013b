//! Many lives of one disk, with everything that can go wrong, by seed.
//!
//! `JOURNAL_SEED=<seed>` runs that one alone, `JOURNAL_ROUNDS=<n>` that many of them.

use super::model::Driver;

const ROUNDS: u64 = 200;
const LIVES: u64 = 8;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

#[test]
fn every_promise_holds_over_many_lives() {
    let seeds = variable("JOURNAL_SEED").map_or(0..variable("JOURNAL_ROUNDS").unwrap_or(ROUNDS), |seed| seed..seed + 1);
    for seed in seeds {
        let round = || {
            let mut driver = Driver::new(seed);
            (0..LIVES).for_each(|_| driver.live());
            driver.finish();
        };
        if let Err(panic) = std::panic::catch_unwind(round) {
            eprintln!("to see it again: JOURNAL_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
