package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// The kinds that the manifests may hold.
var kinds = map[string]func() metav1.Object{
	"v1/ConfigMap":                       func() metav1.Object { return &corev1.ConfigMap{} },
	"v1/Secret":                          func() metav1.Object { return &corev1.Secret{} },
	"v1/Service":                         func() metav1.Object { return &corev1.Service{} },
	"apps/v1/StatefulSet":                func() metav1.Object { return &appsv1.StatefulSet{} },
	"batch/v1/Job":                       func() metav1.Object { return &batchv1.Job{} },
	"policy/v1/PodDisruptionBudget":      func() metav1.Object { return &policyv1.PodDisruptionBudget{} },
	"networking.k8s.io/v1/NetworkPolicy": func() metav1.Object { return &networkingv1.NetworkPolicy{} },
}

// checkKubernetes reads every manifest of a folder into the types of the Kubernetes API: a field that the API does not know, or that is
// there twice, is a fault. Then it looks for what the API server would accept and no pod would run with: a selector that selects
// nothing, a ConfigMap, Secret, volume or port that is not there, a container that may do more than it needs.
func checkKubernetes(folder string) (string, []string) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return "", []string{err.Error()}
	}
	var faults []string
	var objects []metav1.Object
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", []string{err.Error()}
		}
		read, err := readManifests(text)
		if err != nil {
			faults = append(faults, fmt.Sprintf("%s: %s", filepath.Base(path), err))
		}
		objects = append(objects, read...)
	}
	faults = append(faults, checkObjects(objects)...)
	return fmt.Sprintf("%d files, %d objects", len(paths), len(objects)), faults
}

// readManifests reads the documents of one file.
func readManifests(text []byte) ([]metav1.Object, error) {
	var objects []metav1.Object
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(document, &kind); err != nil {
			return objects, err
		}
		newObject, isKnown := kinds[kind.APIVersion+"/"+kind.Kind]
		if !isKnown {
			return objects, fmt.Errorf("the kind %q of %q is not known here", kind.Kind, kind.APIVersion)
		}
		object := newObject()
		// a key that is there twice is found here, an unknown one below
		asJSON, err := yaml.YAMLToJSONStrict(document)
		if err != nil {
			return objects, fmt.Errorf("%s: %w", kind.Kind, err)
		}
		// the API server's own reader: encoding/json would take a key of the wrong case
		unknown, err := json.UnmarshalStrict(asJSON, object)
		if err != nil {
			return objects, fmt.Errorf("%s: %w", kind.Kind, err)
		}
		if len(unknown) > 0 {
			return objects, fmt.Errorf("%s: %w", kind.Kind, errors.Join(unknown...))
		}
		if object.GetName() == "" {
			return objects, fmt.Errorf("%s: no name", kind.Kind)
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// A pod template, and the labels by which its owner finds it.
type workload struct {
	name     string
	selector *metav1.LabelSelector
	template corev1.PodTemplateSpec
}

func checkObjects(objects []metav1.Object) []string {
	var faults []string
	add := func(format string, values ...any) { faults = append(faults, fmt.Sprintf(format, values...)) }
	named := map[string]bool{}
	var workloads []workload
	for _, object := range objects {
		named[fmt.Sprintf("%T/%s", object, object.GetName())] = true
		switch object := object.(type) {
		case *appsv1.StatefulSet:
			workloads = append(workloads, workload{object.Name, object.Spec.Selector, object.Spec.Template})
		case *batchv1.Job:
			workloads = append(workloads, workload{object.Name, nil, object.Spec.Template})
		}
	}
	has := func(object metav1.Object, name string) bool { return named[fmt.Sprintf("%T/%s", object, name)] }

	// whether some pod has the labels
	selects := func(selector *metav1.LabelSelector) bool {
		parsed, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil || parsed.Empty() {
			return false
		}
		for _, workload := range workloads {
			if parsed.Matches(labels.Set(workload.template.Labels)) {
				return true
			}
		}
		return false
	}
	for _, object := range objects {
		switch object := object.(type) {
		case *appsv1.StatefulSet:
			if !has(&corev1.Service{}, object.Spec.ServiceName) {
				add("StatefulSet %s: there is no Service %q", object.Name, object.Spec.ServiceName)
			}
		case *corev1.Service:
			if !selects(&metav1.LabelSelector{MatchLabels: object.Spec.Selector}) {
				add("Service %s selects no pod", object.Name)
			}
		case *policyv1.PodDisruptionBudget:
			if !selects(object.Spec.Selector) {
				add("PodDisruptionBudget %s selects no pod", object.Name)
			}
		case *networkingv1.NetworkPolicy:
			if !selects(&object.Spec.PodSelector) {
				add("NetworkPolicy %s selects no pod", object.Name)
			}
		}
	}
	for _, workload := range workloads {
		if workload.selector != nil {
			parsed, err := metav1.LabelSelectorAsSelector(workload.selector)
			if err != nil || !parsed.Matches(labels.Set(workload.template.Labels)) {
				add("%s does not select its own pods", workload.name)
			}
		}
		for _, fault := range checkPod(workload.template.Spec, has) {
			add("%s: %s", workload.name, fault)
		}
	}
	sort.Strings(faults)
	return faults
}

func checkPod(pod corev1.PodSpec, has func(metav1.Object, string) bool) []string {
	var faults []string
	add := func(format string, values ...any) { faults = append(faults, fmt.Sprintf(format, values...)) }
	// The variables of a Service named `footprint`, `db` or `ch` would be taken for settings.
	if pod.EnableServiceLinks == nil || *pod.EnableServiceLinks {
		add("enableServiceLinks must be false")
	}
	if context := pod.SecurityContext; context == nil || context.RunAsNonRoot == nil || !*context.RunAsNonRoot {
		add("runAsNonRoot must be true")
	}
	volumes := map[string]bool{}
	for _, volume := range pod.Volumes {
		volumes[volume.Name] = true
		if source := volume.ConfigMap; source != nil && !has(&corev1.ConfigMap{}, source.Name) {
			add("there is no ConfigMap %q", source.Name)
		}
		if source := volume.Secret; source != nil && !has(&corev1.Secret{}, source.SecretName) {
			add("there is no Secret %q", source.SecretName)
		}
	}
	for _, container := range append(pod.InitContainers, pod.Containers...) {
		for _, fault := range checkContainer(container, volumes, has) {
			add("container %s: %s", container.Name, fault)
		}
	}
	return faults
}

func checkContainer(container corev1.Container, volumes map[string]bool, has func(metav1.Object, string) bool) []string {
	var faults []string
	add := func(format string, values ...any) { faults = append(faults, fmt.Sprintf(format, values...)) }
	isFalse := func(flag *bool) bool { return flag != nil && !*flag }
	context := container.SecurityContext
	if context == nil {
		context = &corev1.SecurityContext{}
	}
	if context.ReadOnlyRootFilesystem == nil || !*context.ReadOnlyRootFilesystem {
		add("readOnlyRootFilesystem must be true")
	}
	if !isFalse(context.AllowPrivilegeEscalation) {
		add("allowPrivilegeEscalation must be false")
	}
	if context.Capabilities == nil || fmt.Sprint(context.Capabilities.Drop) != "[ALL]" {
		add("all capabilities must be dropped")
	}
	if container.Resources.Limits.Memory().IsZero() || container.Resources.Requests.Memory().IsZero() {
		add("memory has no limit or no request")
	}
	if _, tag, _ := strings.Cut(container.Image[strings.LastIndex(container.Image, "/")+1:], ":"); tag == "" || tag == "latest" {
		add("the image %q has no fixed tag", container.Image)
	}
	for _, mount := range container.VolumeMounts {
		if !volumes[mount.Name] {
			add("there is no volume %q", mount.Name)
		}
	}
	for _, source := range container.EnvFrom {
		if source.ConfigMapRef != nil && !has(&corev1.ConfigMap{}, source.ConfigMapRef.Name) {
			add("there is no ConfigMap %q", source.ConfigMapRef.Name)
		}
	}
	ports := map[string]bool{}
	for _, port := range container.Ports {
		ports[port.Name] = true
	}
	for _, probe := range []*corev1.Probe{container.LivenessProbe, container.ReadinessProbe, container.StartupProbe} {
		if probe != nil && probe.HTTPGet != nil && !ports[probe.HTTPGet.Port.String()] {
			add("there is no port %q", probe.HTTPGet.Port.String())
		}
	}
	return faults
}
