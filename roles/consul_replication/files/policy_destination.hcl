# What consulops-replication needs where it copies to, for Consul 1.8 and later:
#   consul acl policy create -name consulops-replication-destination -rules @policy_destination.hcl

# the keys that are copied
key_prefix "app/" {
  policy = "write"
}

# the lease, which keys were copied, and what operators said: freeze, acknowledge
key_prefix "consulops/replication/" {
  policy = "write"
}

# the session of the lease, on the node of any host
session_prefix "" {
  policy = "write"
}

# a node for this session, if the Consul agent that is asked belongs to another datacenter
service "consul" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
