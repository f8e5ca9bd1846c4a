//! Which windows there can be, how they come and go, and what a partition's firmware makes of it.

mod default_window;
mod layouts;
mod partition;
mod random;
mod removal;
mod reserved;
mod shapes;
