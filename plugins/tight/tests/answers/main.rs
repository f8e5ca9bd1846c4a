//! What the reference policy answers. One program, so that what its parts share is used or gone.

mod common;
mod leases;
mod pages;
mod windows;
