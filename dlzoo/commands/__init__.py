"""What is done with a trained model from the command line; scripts/ and the dlzoo-… commands start these."""
