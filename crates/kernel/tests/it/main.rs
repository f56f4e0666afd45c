//! Integration tests of the kernel.

mod disclosure;
