//! What the agent remembers of each replica, on disk; also when the disk was full for a while.

use super::Agent;
use crate::replica::store_record;
use orlop_agent_core::Record;

impl Agent {
    /// Writes a record; one that cannot be written is kept until it can.
    pub(super) fn write_record(&mut self, record: Record) {
        let replica = record.replica;
        match store_record(&self.layout, &record) {
            Ok(()) => {
                if self.unwritten.remove(&replica).is_some() && self.unwritten.is_empty() {
                    tracing::info!("the records of all replicas are written again");
                }
            }
            Err(error) => {
                if self.unwritten.is_empty() {
                    let directory = self.config.data_dir.display();
                    tracing::warn!(
                        %replica, %error, %directory,
                        "its record was not written; replicas go on, and it is tried again: free some space if the disk is full"
                    );
                }
                self.unwritten.insert(replica, record);
            }
        }
    }

    /// Tries again what could not be written.
    pub(super) fn write_records_again(&mut self) {
        for record in self.unwritten.clone().into_values() {
            self.write_record(record);
        }
    }
}
