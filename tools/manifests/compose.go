package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// checkCompose reads a compose file with the loader of `docker compose`: its schema, its references and its interpolation, without
// any variable set. Each service must have a fixed image, a memory limit and, if it keeps running, a health check; each port must be
// published on loopback; each bind mount must exist.
func checkCompose(path string) (string, []string) {
	project, err := loadCompose(path)
	if err != nil {
		return "", []string{err.Error()}
	}
	var faults []string
	for _, service := range project.Services {
		for _, fault := range checkService(service) {
			faults = append(faults, fmt.Sprintf("service %s: %s", service.Name, fault))
		}
	}
	return fmt.Sprintf("%d services", len(project.Services)), faults
}

func loadCompose(path string) (*types.Project, error) {
	ctx := context.Background()
	directory, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	details, err := loader.LoadConfigFiles(ctx, []string{path}, directory)
	if err != nil {
		return nil, err
	}
	details.Environment = types.Mapping{}
	return loader.LoadWithContext(ctx, *details, func(options *loader.Options) {
		options.ResolvePaths = true
	})
}

func checkService(service types.ServiceConfig) []string {
	var faults []string
	add := func(format string, values ...any) { faults = append(faults, fmt.Sprintf(format, values...)) }
	if service.Build == nil {
		// of host:port/name:tag only what follows the last slash
		_, tag, _ := strings.Cut(service.Image[strings.LastIndex(service.Image, "/")+1:], ":")
		if tag == "" || tag == "latest" {
			add("the image %q has no fixed tag", service.Image)
		}
	}
	if service.MemLimit == 0 {
		add("no mem_limit")
	}
	// an image that is built here brings its own
	keepsRunning := service.Restart != "" && service.Restart != "no"
	isChecked := service.Build != nil || service.HealthCheck != nil && !service.HealthCheck.Disable
	if keepsRunning && !isChecked {
		add("no healthcheck")
	}
	for _, port := range service.Ports {
		if address := net.ParseIP(port.HostIP); address == nil || !address.IsLoopback() {
			add("port %s is published on %q, and must be on 127.0.0.1", port.Published, port.HostIP)
		}
	}
	for _, volume := range service.Volumes {
		if volume.Type != types.VolumeTypeBind {
			continue
		}
		if _, err := os.Stat(volume.Source); err != nil {
			add("mount: %s", err)
		}
	}
	return faults
}
