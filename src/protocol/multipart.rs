//! Where does the model stand in a multipart form?
