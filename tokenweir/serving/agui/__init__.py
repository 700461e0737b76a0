"""AG-UI, as used by ``@ag-ui/client`` and CopilotKit."""
