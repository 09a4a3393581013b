//! Devices and their last values, for those who may see every topic that may have told of them: what a device has said
//! on one topic stands beside what it said on another.

use axum::{
    Extension, Json,
    extract::{Path, State, rejection::PathRejection},
    http::{StatusCode, Uri},
};

use super::{caller, parameters, problem::Problem, routes::Context};
use crate::{
    auth::web::Caller,
    types::{DeviceInfo, DevicePage, Scope, Topics},
};

/// `GET /api/devices`
pub async fn list(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<DevicePage>, Problem> {
    let visible = caller::topics(&caller, Scope::EventsRead)?;
    let mut query = parameters::devices(&uri)?;
    loop {
        let mut page = context.services.devices.page(query.clone()).await?;
        if visible.is_all() {
            return Ok(Json(page));
        }
        page.devices.retain(|device| may_see(&context, &visible, &device.device));
        let behind = std::mem::take(&mut page.next_cursor);
        if behind.is_none() || !page.devices.is_empty() {
            // Not the cursor itself, which is the name of a device that may be hidden.
            page.next_cursor = behind.and_then(|_| page.devices.last().map(|device| device.device.clone()));
            return Ok(Json(page));
        }
        query.cursor = behind;
    }
}

/// `GET /api/devices/{device}`
pub async fn one(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<DeviceInfo>, Problem> {
    let Path(name) = name?;
    let visible = caller::topics(&caller, Scope::EventsRead)?;
    // What one may not see is as good as not there.
    let found = match may_see(&context, &visible, &name) {
        true => context.services.devices.device(&name).await?,
        false => None,
    };
    found.map(Json).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("nothing is known of a device {name:?}")))
}

/// Whether all that may be known of a device is visible.
pub fn may_see(context: &Context, visible: &Topics, device: &str) -> bool {
    if visible.is_all() {
        return true;
    }
    let topics = context.services.devices.topics(device);
    !topics.is_empty() && topics.iter().all(|topics| visible.cover(topics))
}
