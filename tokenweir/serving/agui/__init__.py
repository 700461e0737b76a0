"""AG-UI, as ``@ag-ui/client`` and CopilotKit speak it."""
