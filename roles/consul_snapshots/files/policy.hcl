# What the token of consulops-snapshot needs, for Consul 1.8 and later:
#   consul acl policy create -name consulops-snapshot -rules @policy.hcl
# Consul gives a snapshot only to a token that may write ACLs. Whoever has this token can do everything.
acl = "write"

# what snapshots are compared with
key_prefix "" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
service_prefix "" {
  policy = "read"
}
query_prefix "" {
  policy = "read"
}
operator = "read"
agent_prefix "" {
  policy = "read"
}

# the leases of its policies
key_prefix "consulops/agents/snapshot/lease/" {
  policy = "write"
}

# what it publishes of its policies, for rules and commands
key_prefix "consulops/snapshots/snapshot/" {
  policy = "write"
}

# the sessions of the leases, on the node of any host
session_prefix "" {
  policy = "write"
}

# the entry in the catalog
service "consul-snapshot" {
  policy = "write"
}
