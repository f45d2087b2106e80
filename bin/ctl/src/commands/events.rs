//! `events`.

use crate::args::{EventsArgs, Format};
use crate::context::{Context, print_text};
use crate::failure::Failure;
use crate::output::EventOut;
use crate::render;
use orlop_client::find;
use orlop_model::Subject;
use orlop_model::view::{Object, View};

/// Shows what happened, and what happens.
pub(crate) async fn events(context: &Context, args: EventsArgs) -> Result<(), Failure> {
    let client = context.client()?;
    let mut state = client.state(None).await?;
    // A deployment that is gone still has events: an unknown name is taken if it can be one.
    let deployment = match &args.deployment {
        None => None,
        Some(name) => Some(name.parse().or_else(|_| find::deployment(&state, name))?),
    };
    let subject = Subject { deployment: deployment.clone(), ..Subject::default() };
    let (events, revision) = client.events(&subject, args.limit).await?;
    if !args.watch {
        let value: Vec<EventOut> = events.iter().map(EventOut::of).collect();
        return context.print(|| render::events(&state, &events), value);
    }
    let print = |state: &_, event: &_| match context.format {
        Format::Table => print_text(&render::event_line(state, event)),
        Format::Json | Format::Yaml => context.print_one(String::new, EventOut::of(event)),
    };
    let mut seen = 0;
    for event in &events {
        seen = event.sequence;
        print(&state, event)?;
    }
    let mut watch = client.watch(View::Events(deployment));
    if let Some(cluster) = state.cluster {
        watch = watch.since(cluster, revision);
    }
    loop {
        for (_, object) in watch.next().await?.objects {
            if let Some(Object::Event(event)) = object
                && event.sequence > seen
            {
                seen = event.sequence;
                // A node that joined since is shown by its name.
                if event.subject.node.is_some_and(|node| !state.nodes.contains_key(&node)) {
                    state = client.state(None).await?;
                }
                print(&state, &event)?;
            }
        }
    }
}
