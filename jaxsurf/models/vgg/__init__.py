"""VGG16 as trained on ImageNet: frozen features for the perceptual loss."""
