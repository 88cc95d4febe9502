# What the token of the alerting agent needs, for Consul 1.8 and later:
#   consul acl policy create -name consulops-alerting -rules @policy.hcl

# the nodes, services and checks that it judges
node_prefix "" {
  policy = "read"
}
service_prefix "" {
  policy = "read"
}

# the health of the servers and the members of Raft
operator = "read"

# the lease, and what the instances share: what was reported, and silences
key_prefix "consulops/agents/alerting/" {
  policy = "write"
}

# the session of the lease, on the node of any host
session_prefix "" {
  policy = "write"
}

# the entry in the catalog
service "consulops-alerting" {
  policy = "write"
}

# the events that run programs
event_prefix "" {
  policy = "read"
}

# what replications publish of themselves, for the rules kv_replication_diverged and kv_replication_lag
key_prefix "consulops/replication/" {
  policy = "read"
}

# what snapshot agents publish, for the rules snapshot_age, snapshot_unverified and snapshot_rehearsal_overdue
key_prefix "consulops/snapshots/" {
  policy = "read"
}

# what drills publish, for the rules drill_failed and drill_overdue
key_prefix "consulops/drills/" {
  policy = "read"
}
