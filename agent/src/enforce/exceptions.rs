//! What a user lets pass while the agent runs: `keymoat allow` writes a file of policy entries, the agent reads it.
