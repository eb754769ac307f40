package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// checkDashboard reads a dashboard with the types of Grafana's foundation SDK: an unknown field of the dashboard, of a panel of a
// known kind or of a query of a known source is a fault.
func checkDashboard(path string) (string, []string) {
	plugins.RegisterDefaultPlugins()
	text, err := os.ReadFile(path)
	if err != nil {
		return "", []string{err.Error()}
	}
	var read dashboard.Dashboard
	if err := read.UnmarshalJSONStrict(text); isFault(err) {
		return "", []string{err.Error()}
	}
	if err := read.Validate(); isFault(err) {
		return "", []string{err.Error()}
	}
	return fmt.Sprintf("%d panels", len(read.Panels)), nil
}

// The SDK returns an empty list of errors where it means none.
func isFault(err error) bool {
	var list cog.BuildErrors
	return err != nil && !(errors.As(err, &list) && len(list) == 0)
}
