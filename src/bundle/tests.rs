//! Every way a bundle can lie, and that it is refused before it is used.
