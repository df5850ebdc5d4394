//! What may stand side by side in a row. A row is made here and nowhere else.

use crate::compare::arithmetic::{ORDER, Side, figures};
use crate::result::compare::{Client, Round, Row, Turn};
use crate::result::run::{Phase, Verified};
use crate::workload::{Durability, Workload};

/// One turn as it was run: what was done is said by who did it, not by who asked for it.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    /// `ringmain` or the peer.
    pub(crate) side: String,
    /// What the generator ran.
    pub(crate) workload: Workload,
    /// How the broker was set up.
    pub(crate) durability: Durability,
    /// Who loaded it.
    pub(crate) client: Client,
    /// Figures.
    pub(crate) phases: Vec<Phase>,
    /// What was read back.
    pub(crate) verified: Verified,
}

/// Two sides that must not be compared.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfair {
    /// Durability.
    #[error("{side} was set up as {found:?}, and the workload is of class {asked:?}")]
    Durability {
        /// Who.
        side: String,
        /// How it was set up.
        found: Durability,
        /// How it should have been.
        asked: Durability,
    },
    /// Sizes, batches, connections, rates.
    #[error("{0} ran another workload than the side before it")]
    Workload(String),
    /// Loaded by another client than the row says.
    #[error("{0} was loaded by another client")]
    Client(String),
    /// Turns that are missing or in another order.
    #[error("the turns are not ringmain, {0}, {0}, ringmain in each round")]
    Order(String),
    /// A side that has no records.
    #[error("{0} has nothing that was read back")]
    Nothing(String),
}

/// Makes a row of all turns of one workload, in the order in which they ran.
pub(crate) fn row(peer: &str, client: Client, turns: Vec<Done>, notes: Vec<String>) -> Result<Row, Unfair> {
    let names = ORDER.map(|side| if side == Side::Ringmain { "ringmain" } else { peer });
    let in_order = turns.iter().zip(names.iter().cycle()).all(|(turn, name)| turn.side == *name);
    let (true, true, Some(first)) = (in_order, turns.len().is_multiple_of(ORDER.len()), turns.first()) else {
        return Err(Unfair::Order(peer.to_string()));
    };
    let workload = first.workload.clone();
    for turn in &turns {
        let side = turn.side.clone();
        if turn.workload != workload {
            return Err(Unfair::Workload(side));
        }
        if turn.durability != workload.durability {
            return Err(Unfair::Durability { side, found: turn.durability, asked: workload.durability });
        }
        let expected = if side == peer { &client } else { &Client::Same };
        if turn.client != *expected {
            return Err(Unfair::Client(side));
        }
        if turn.verified.records == 0 {
            return Err(Unfair::Nothing(side));
        }
    }
    let rounds: Vec<Round> = turns
        .chunks(ORDER.len())
        .zip(1..)
        .map(|(turns, round)| Round {
            round,
            turns: turns
                .iter()
                .map(|turn| Turn {
                    side: turn.side.clone(),
                    phases: turn.phases.clone(),
                    verified: turn.verified,
                })
                .collect(),
        })
        .collect();
    let mut row = Row { workload, peer: peer.to_string(), client, rounds, figures: Vec::new(), notes };
    row.count_records_only();
    row.figures = figures(&row.rounds, peer);
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns() -> Vec<Done> {
        let run = crate::result::run::tests::sample();
        let turn = |side: &str| Done {
            side: side.to_string(),
            workload: run.workload.clone(),
            durability: run.workload.durability,
            client: Client::Same,
            phases: run.phases.clone(),
            verified: run.verified,
        };
        ["ringmain", "kafka", "kafka", "ringmain"].map(turn).into()
    }

    fn refused(change: impl Fn(&mut Vec<Done>)) -> Unfair {
        let mut turns = turns();
        change(&mut turns);
        row("kafka", Client::Same, turns, Vec::new()).unwrap_err()
    }

    #[test]
    fn equal_sides_are_a_row() {
        let made = row("kafka", Client::Same, [turns(), turns()].concat(), Vec::new()).unwrap();
        assert_eq!(made.rounds.len(), 2);
        assert_eq!(made.rounds[1].round, 2);
        assert!(!made.figures.is_empty());
    }

    #[test]
    fn a_byte_is_a_byte_of_a_record_on_both_sides() {
        let mut turns = turns();
        for turn in &mut turns {
            // The protocol of one side puts headers around the records, that of the other does not count them.
            let around = if turn.side == "ringmain" { 70 } else { 0 };
            for phase in &mut turn.phases {
                phase.kind = crate::result::run::PhaseKind::Produce;
                (phase.records, phase.records_per_s) = (1_000_000, 1000.0);
                phase.bytes = 1_000_000 * (1024 + around);
                phase.mb_per_s = 1000.0 * (1024 + around) as f64 / 1e6;
                phase.usage.broker_cpu_s = Some(1.024);
            }
            turn.workload.producers.record_bytes = crate::workload::Bytes(1024);
        }
        let made = row("kafka", Client::Same, turns, Vec::new()).unwrap();
        for (what, value) in [("mb_per_s", 1.024), ("broker_cpu_s_per_gb", 1.0)] {
            let figure = made.figures.iter().find(|figure| figure.what == what).unwrap();
            assert_eq!((figure.ringmain.median, figure.peer.median), (value, value), "{what}");
        }
    }

    #[test]
    fn sides_that_differ_are_none() {
        let synced = Durability::Synced;
        let found = refused(|turns| turns[1].durability = synced);
        assert!(matches!(found, Unfair::Durability { side, .. } if side == "kafka"));
        let kafka = || "kafka".to_string();
        let found = refused(|turns| turns[2].workload.producers.batch_records = 2);
        assert_eq!(found, Unfair::Workload(kafka()));
        assert_eq!(refused(|turns| turns[1].workload.producers.connections = 9), Unfair::Workload(kafka()));
        let other = Client::Own { library: "x".into() };
        assert_eq!(refused(|turns| turns[1].client = other.clone()), Unfair::Client(kafka()));
        assert_eq!(refused(|turns| turns[3].client = other.clone()), Unfair::Client("ringmain".into()));
        assert_eq!(refused(|turns| turns.swap(0, 1)), Unfair::Order(kafka()));
        assert_eq!(refused(|turns| drop(turns.pop())), Unfair::Order(kafka()));
        assert_eq!(refused(Vec::clear), Unfair::Order(kafka()));
        assert_eq!(refused(|turns| turns[1].verified.records = 0), Unfair::Nothing(kafka()));
    }
}
