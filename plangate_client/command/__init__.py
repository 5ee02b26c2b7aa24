"""The `plangate` command. What a subcommand needs is imported when it runs: `plangate --help` stays quick."""


def main() -> None:
    """Run the command with this process's arguments and end the process with its status."""
    from plangate_client.command.app import run

    run()
