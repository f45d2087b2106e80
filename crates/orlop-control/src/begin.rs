//! What a member does first: it makes a cluster, goes on in the one it is in, or asks to be let in.

use crate::config::Listen;
use crate::control::{Control, new_cluster_id};
use crate::enroll::enroll;
use crate::front::Listener;
use crate::home::HomeError;
use crate::{Error, trust};
use orlop_client::{HostPort, IdentityError};
use orlop_model::{Member, MemberId, NodeName};
use orlop_state::command::{AddMember, InitCluster, MoveMember, RemoveMember};
use orlop_state::{Answer, Kind};

impl Control {
    /// Brings the member to where it can serve, and starts its tasks.
    pub(crate) async fn begin(&self, member: MemberId, listeners: &[Listener]) -> Result<(), Error> {
        let advertise = self.config.advertise.as_ref();
        if let Some(advertise) = advertise {
            self.home.keep_advertise(advertise)?;
        }
        if !self.consensus.is_initialized() {
            match (member, self.config.make_cluster) {
                (MemberId::FIRST, true) => self.consensus.init(&address(advertise)).await?,
                (MemberId::FIRST, false) => return Err(Error::NoCluster { directory: self.config.data_dir.clone() }),
                // It has joined and not run yet.
                _ => {}
            }
        }
        let alone = self.consensus.members().iter().all(|known| known.id == member.0);
        if alone && self.consensus.status().leader == Some(member.0) {
            self.make_cluster().await?;
            self.go_on_alone(member, &address(advertise)).await?;
        }
        self.trust.load()?;
        if listeners.iter().any(|listener| matches!(listener.listen(), Listen::Tls(_)))
            && self.trust.acceptor().is_none()
        {
            return Err(Error::NoIdentity { directory: self.home.identity().path().to_owned() });
        }
        // Before anything is served: who comes at once finds a leader that knows that it leads.
        self.note_leader(self.consensus.leadership().borrow().leader);
        self.tasks.spawn(self.clone().follow_leadership());
        self.tasks.spawn(trust::keep_renewed(self.clone()));
        if let Some(advertise) = advertise {
            let members = match self.home.identity().members() {
                Err(IdentityError::Absent(_)) => Vec::new(),
                members => members.map_err(HomeError::from)?,
            };
            let (consensus, peers) = (self.consensus.clone(), self.peers.clone());
            self.tasks.spawn(enroll(consensus, peers, members, advertise.clone(), self.stop.clone()));
        }
        Ok(())
    }

    /// Makes the cluster in an empty log. What is configured later does not change a cluster that is made.
    async fn make_cluster(&self) -> Result<(), Error> {
        let (cluster, range) = self.machine.read(|state| (state.cluster(), state.range()));
        if let (Some(cluster), Some(range)) = (cluster, range) {
            if range != self.config.cluster_range {
                tracing::warn!(%cluster, %range, configured = %self.config.cluster_range,
                    "the cluster keeps the address range it was made with");
            }
            return Ok(());
        }
        let cluster = new_cluster_id();
        let advertise = self.config.advertise.as_ref();
        let made = self.home.make(cluster, advertise)?;
        let trust = Some(made.sealed()?);
        let init = InitCluster { cluster, range: self.config.cluster_range, trust };
        self.done(Kind::InitCluster(init)).await?;
        let name = self.config.name.clone().unwrap_or_else(own_name);
        self.done(Kind::AddMember(AddMember { id: Some(MemberId::FIRST), name, address: address(advertise) })).await
    }

    /// A member that is alone is where it says it is, and has an identity if the cluster has an authority. One that was made
    /// alone after a disaster forgets the others.
    async fn go_on_alone(&self, member: MemberId, address: &str) -> Result<(), Error> {
        let known: Vec<Member> = self.machine.read(|state| state.members().cloned().collect());
        match known.iter().find(|known| known.id == member) {
            None => {
                let name = self.config.name.clone().unwrap_or_else(own_name);
                // The name may be that of the member that was here before.
                let taken = known.iter().any(|known| known.name == name);
                let name = if taken { format!("member-{member}").parse().unwrap_or(name) } else { name };
                let add = AddMember { id: Some(member), name, address: address.to_owned() };
                self.done(Kind::AddMember(add)).await?;
            }
            Some(known) if known.address != address => {
                self.consensus.change_address(member.0, address).await?;
                self.done(Kind::MoveMember(MoveMember { id: member, address: address.to_owned() })).await?;
            }
            Some(_) => {}
        }
        if self.home.is_alone() {
            for gone in known.iter().filter(|known| known.id != member) {
                tracing::warn!(member = %gone.id, name = %gone.name, "forgetting a member that was lost");
                self.done(Kind::RemoveMember(RemoveMember { id: gone.id })).await?;
            }
            self.home.unmark_alone()?;
        }
        if !self.home.identity().is_made() {
            self.trust.certify(member, self.config.advertise.as_ref())?;
        }
        Ok(())
    }

    async fn done(&self, kind: Kind) -> Result<(), Error> {
        match self.submit(kind).await {
            Ok((_, Answer::Done | Answer::MemberAdded { .. })) => Ok(()),
            Ok((_, answer)) => Err(Error::Init(format!("{answer:?}"))),
            Err(status) => Err(Error::Init(status.message().to_owned())),
        }
    }
}

/// A member that nobody reaches has an address all the same, at which nobody can be: no [`HostPort`] reads it.
fn address(advertise: Option<&HostPort>) -> String {
    advertise.map_or_else(|| "nowhere:0".to_owned(), ToString::to_string)
}

fn own_name() -> NodeName {
    #[expect(clippy::expect_used, reason = "the text is a constant and a valid name")]
    orlop_client::host_name().unwrap_or_else(|_| "control-plane".parse().expect("a name"))
}
