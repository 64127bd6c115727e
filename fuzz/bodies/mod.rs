//! What the fuzz targets of fence-proto do with a fuzzer's bytes. Ordinary tests run the same on the
//! committed corpora and on random bytes.

pub(crate) mod agent_session;
pub(crate) mod host_list;
pub(crate) mod host_session;
pub(crate) mod line_agent;
pub(crate) mod line_host;
pub(crate) mod request_frame;
mod script;
