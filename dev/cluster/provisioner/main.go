// Command provisioner makes the volumes of the development cluster: directories on the node that a
// non-root pod can write. The provisioner inside kube-controller-manager makes them 0750 root, and
// fsGroup does not apply to hostPath volumes.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// name is what the StorageClass calls this provisioner.
const name = "budeval.dev/node-directory"

// worldWritable lets pods of any user id write, each into directories of its own; sticky, so that one
// cannot rename or remove what another made.
const worldWritable = os.ModeSticky | 0o777

// metricsPort answers the question whether the controller runs.
const metricsPort = 8089

type nodeDirectories struct{ root string }

// Provision makes the directory and returns the volume that points to it.
func (d nodeDirectories) Provision(_ context.Context, o controller.ProvisionOptions) (*v1.PersistentVolume, controller.ProvisioningState, error) {
	path := filepath.Join(d.root, o.PVName)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("make volume directory: %w", err)
	}
	if err := os.Chmod(path, worldWritable); err != nil { // Mkdir's mode passes through the umask
		return nil, controller.ProvisioningFinished, fmt.Errorf("open volume directory: %w", err)
	}
	kind := v1.HostPathDirectory
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName},
		Spec: v1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			AccessModes:                   o.PVC.Spec.AccessModes,
			Capacity:                      v1.ResourceList{v1.ResourceStorage: o.PVC.Spec.Resources.Requests[v1.ResourceStorage]},
			PersistentVolumeSource:        v1.PersistentVolumeSource{HostPath: &v1.HostPathVolumeSource{Path: path, Type: &kind}},
		},
	}, controller.ProvisioningFinished, nil
}

// Delete removes a released volume's directory. Only the name is used, never a path from the API.
func (d nodeDirectories) Delete(_ context.Context, volume *v1.PersistentVolume) error {
	return os.RemoveAll(filepath.Join(d.root, filepath.Base(volume.Name)))
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the cluster")
	root := flag.String("root", "", "directory that holds the volumes")
	klog.InitFlags(nil)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		klog.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		klog.Fatal(err)
	}
	controller.NewProvisionController(ctx, client, name, nodeDirectories{*root}, controller.LeaderElection(false), controller.MetricsAddress("127.0.0.1"), controller.MetricsPort(metricsPort)).Run(ctx)
}
