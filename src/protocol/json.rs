//! JSON read one level deep and changed where it stands.
