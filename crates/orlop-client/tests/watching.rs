//! A watch against a control plane that the test plays.

use orlop_client::{Address, OperatorClient};
use orlop_model::view::View;
use orlop_model::{ClusterId, Revision};
use orlop_proto::watch::v1 as pb;
use orlop_proto::watch::v1::watch_service_server::{WatchService, WatchServiceServer};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

/// Sends one update in three parts and then nothing more.
struct InParts;

#[tonic::async_trait]
impl WatchService for InParts {
    type WatchStream = futures::stream::BoxStream<'static, Result<pb::WatchResponse, Status>>;

    async fn watch(&self, _request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let part = |number: u64, more: bool| {
            Ok(pb::WatchResponse {
                revision: 9,
                cluster: ClusterId::from_u128(1).to_string(),
                snapshot: true,
                changes: vec![pb::Change { key: format!("event/{number}"), object: None }],
                more,
            })
        };
        let parts = futures::stream::iter([part(1, true), part(2, true), part(3, false)]);
        Ok(Response::new(Box::pin(futures::StreamExt::chain(parts, futures::stream::pending()))))
    }
}

#[tokio::test]
async fn an_update_in_parts_is_given_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("s");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let server = tonic::transport::Server::builder()
        .add_service(WatchServiceServer::new(InParts))
        .serve_with_incoming(UnixListenerStream::new(listener));
    let served = tokio::spawn(server);

    let address: Address = format!("unix:{}", socket.display()).parse().expect("an address");
    let client = OperatorClient::new(address).expect("a client");
    let changes = client.watch(View::Mesh).next().await.expect("an update");
    let keys: Vec<&str> = changes.objects.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!((keys, changes.revision), (vec!["event/1", "event/2", "event/3"], Revision(9)));
    served.abort();
}
