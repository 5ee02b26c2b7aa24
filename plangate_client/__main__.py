"""`python -m plangate_client` is the `plangate` command."""

from plangate_client.command import main

if __name__ == "__main__":
    main()
