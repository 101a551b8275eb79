"""Start a net, data set, task, experiment or package of your own: ``python scripts/new.py net my_net``; see --help."""

from dlzoo.commands.new import main

if __name__ == "__main__":
    main()
