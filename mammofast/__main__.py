from mammofast.cli import main

main()
