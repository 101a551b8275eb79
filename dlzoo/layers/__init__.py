"""What nets are made of: layers, recurrent cells, embeddings, backbones and their weights."""
