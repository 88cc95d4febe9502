# What consulops-replication needs where it copies from, for Consul 1.8 and later. It only reads:
#   consul acl policy create -name consulops-replication-source -rules @policy_source.hcl

# the keys that are copied
key_prefix "app/" {
  policy = "read"
}

# who copies into this datacenter, so that nothing is copied back
key_prefix "consulops/replication/" {
  policy = "read"
}

# by what a datacenter that was restored, or rebuilt, is recognised
key "consulops/restore" {
  policy = "read"
}
service "consul" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
