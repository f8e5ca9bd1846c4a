//! What crosses the parts: lifecycle, policies through the real host, the POWER lab.
