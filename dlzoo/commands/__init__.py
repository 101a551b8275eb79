"""The commands for trained models; ``dlzoo <command>`` and scripts/<command>.py call them."""
