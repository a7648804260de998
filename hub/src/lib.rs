//! Axle's hub: store, authentication, distribution, gRPC, REST and dashboard.
