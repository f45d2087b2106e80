//! `image import`, `image ls`, `image rm`, `image prune`, `image pack`.

use crate::args::{ImportArgs, PackArgs, PruneArgs, RemoveArgs};
use crate::context::Context;
use crate::failure::{FAILED, Failure, NOT_FOUND};
use crate::output::{ImageOut, PackOut};
use crate::render;
use orlop_client::{ClusterState, Image, find};
use orlop_model::NodeId;
use orlop_runtime::pack::{self, Entry, PackError, PackOptions};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use tokio::io::AsyncRead;

/// Sends an archive to nodes.
pub(crate) async fn import(context: &Context, args: ImportArgs) -> Result<(), Failure> {
    let client = context.client()?;
    let state = client.state(None).await?;
    let nodes = nodes(&state, &args.node)?;
    let (archive, total): (Box<dyn AsyncRead + Unpin + Send>, Option<u64>) = match args.file == Path::new("-") {
        true => (Box::new(tokio::io::stdin()), None),
        false => {
            let file = tokio::fs::File::open(&args.file).await.map_err(|error| unreadable(&args.file, &error))?;
            let total = file.metadata().await.ok().map(|data| data.len());
            (Box::new(file), total)
        }
    };
    let shows = io::stderr().is_terminal();
    let sent = move |bytes: u64| {
        if shows {
            let of = total.map(|total| format!(" of {}", render::size(total))).unwrap_or_default();
            let _ = write!(io::stderr(), "\r\x1b[K{}{of} sent", render::size(bytes));
        }
    };
    let result = client.import_image(args.name.as_deref().unwrap_or_default(), &nodes, archive, sent).await;
    if shows {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    let images = result?;
    let value: Vec<ImageOut> = images.iter().map(ImageOut::of).collect();
    context.print(|| render::images(&state, &images), value)
}

/// Lists the images of the nodes.
pub(crate) async fn ls(context: &Context) -> Result<(), Failure> {
    let client = context.client()?;
    let (state, images) = (client.state(None).await?, client.images().await?);
    let value: Vec<ImageOut> = images.iter().map(ImageOut::of).collect();
    context.print(|| render::images(&state, &images), value)
}

/// Removes images by name.
pub(crate) async fn rm(context: &Context, args: &RemoveArgs) -> Result<(), Failure> {
    let client = context.client()?;
    let state = client.state(None).await?;
    let nodes = nodes(&state, &args.on.node)?;
    let there = client.images().await?;
    let is_there = |name: &&String| {
        there.iter().any(|i| i.name == **name && (nodes.is_empty() || i.node.is_some_and(|node| nodes.contains(&node))))
    };
    if let Some(missing) = args.name.iter().find(|name| !is_there(name)) {
        return Err(Failure::new(
            NOT_FOUND,
            format!("no node has the image {missing}; `orlopctl image ls` lists what there is"),
        ));
    }
    let removed = client.remove_images(&args.name, &nodes).await?;
    print_removed(context, &state, &removed)
}

/// Removes images that nothing uses.
pub(crate) async fn prune(context: &Context, args: &PruneArgs) -> Result<(), Failure> {
    let client = context.client()?;
    let state = client.state(None).await?;
    let removed = client.remove_images(&[], &nodes(&state, &args.node)?).await?;
    print_removed(context, &state, &removed)
}

fn print_removed(context: &Context, state: &ClusterState, removed: &[Image]) -> Result<(), Failure> {
    let value: Vec<ImageOut> = removed.iter().map(ImageOut::of).collect();
    let text = || match removed.is_empty() {
        true => "Every image is in use: nothing was removed.\n".to_owned(),
        false => format!("Removed:\n{}", render::images(state, removed)),
    };
    context.print(text, value)
}

fn nodes(state: &ClusterState, names: &[String]) -> Result<Vec<NodeId>, Failure> {
    let ids: Result<Vec<NodeId>, _> = names.iter().map(|name| find::node(state, name).map(|node| node.id)).collect();
    Ok(ids?)
}

/// Makes an archive of files.
pub(crate) fn pack(context: &Context, args: PackArgs) -> Result<(), Failure> {
    let pair = |text: &String, what: &str| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Failure::usage(format!("{text:?} is not {what}"))),
    };
    let options = PackOptions {
        name: args.name,
        entrypoint: args.entrypoint,
        cmd: args.cmd,
        env: args.env.iter().map(|e| pair(e, "NAME=VALUE")).collect::<Result<_, _>>()?,
        working_dir: args.working_dir,
        user: args.user,
        labels: args.label.iter().map(|l| pair(l, "KEY=VALUE")).collect::<Result<_, _>>()?,
        stop_signal: args.stop_signal,
        layers: vec![args.file.iter().map(|f| Entry::parse(f)).collect::<Result<_, _>>().map_err(refused)?],
        ..PackOptions::default()
    };
    let image = pack::pack(&options).map_err(refused)?;
    if args.out == Path::new("-") {
        return image.write_archive(io::stdout().lock()).map_err(refused);
    }
    write_whole(&args.out, |file| image.write_archive(file).map_err(refused))?;
    let text = || format!("{}: {} ({})", args.out.display(), image.name, image.manifest.digest);
    let value = PackOut {
        name: image.name.clone(),
        digest: image.manifest.digest.clone(),
        file: args.out.display().to_string(),
    };
    context.print(text, value)
}

/// Writes a file beside its place and moves it there, so that nobody sees half of it.
fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut io::BufWriter<File>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(FAILED, format!("cannot write {}: {error}", path.display()));
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}.part", std::process::id()));
    let file = File::create(&aside).map_err(failed)?;
    let mut file = io::BufWriter::new(file);
    let written = write(&mut file)
        .and_then(|()| file.flush().map_err(failed))
        .and_then(|()| std::fs::rename(&aside, path).map_err(failed));
    if written.is_err() {
        let _ = std::fs::remove_file(&aside);
    }
    written
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { FAILED };
    Failure::new(code, format!("cannot read {}: {error}; give an OCI archive", path.display()))
}

fn refused(error: PackError) -> Failure {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    match error {
        PackError::Write(ref cause) if cause.kind() == io::ErrorKind::BrokenPipe => Failure::new(0, ""),
        PackError::Read { .. } | PackError::Write(_) => Failure::new(FAILED, format!("{error}{cause}")),
        _ => Failure::usage(format!("{error}{cause}")),
    }
}
