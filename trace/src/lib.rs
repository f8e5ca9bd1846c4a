//! Recording, checking and replaying what programs ask of VFIO's sPAPR TCE backend.
#![forbid(unsafe_code)]
