//! What a client answers when the server asks, behind one type.

use std::fmt;
use std::sync::Arc;

use rmcp::model::{ClientConfig, ClientResult, ErrorData, ServerNotification, ServerRequest};
use rmcp::service::{DynService, NotificationContext, RequestContext, RoleClient, Service};

/// A handler of any type, and what the client says about itself.
#[derive(Clone)]
pub(super) struct Handler {
    service: Arc<dyn DynService<RoleClient>>,
    about: ClientConfig,
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler").field("about", &self.about).finish_non_exhaustive()
    }
}

impl Handler {
    pub(super) fn new(service: Arc<dyn DynService<RoleClient>>, about: ClientConfig) -> Self {
        Self { service, about }
    }
}

impl Service<RoleClient> for Handler {
    async fn handle_request(
        &self,
        request: ServerRequest,
        context: RequestContext<RoleClient>,
    ) -> Result<ClientResult, ErrorData> {
        self.service.handle_request(request, context).await
    }

    async fn handle_notification(
        &self,
        notification: ServerNotification,
        context: NotificationContext<RoleClient>,
    ) -> Result<(), ErrorData> {
        self.service.handle_notification(notification, context).await
    }

    fn get_info(&self) -> ClientConfig {
        self.about.clone()
    }
}
