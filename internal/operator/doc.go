// Package operator puts the parts together: from the configuration to a manager that runs the controllers. It decides
// nothing else.
package operator
