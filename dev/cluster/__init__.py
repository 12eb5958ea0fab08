"""A single-node Kubernetes: real etcd, API server, controllers, scheduler, kubelet, containerd and volumes.

`binaries` builds the programs, `pki` makes the certificates, `containerd` and `parts` say how each process
runs, `objects` puts namespaces, storage and the service's identity into a cluster that has started, `remains`
removes what processes leave on the machine.
"""
