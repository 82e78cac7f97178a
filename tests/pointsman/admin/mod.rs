//! The admin REST, one file a resource.
