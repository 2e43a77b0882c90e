"""StyleGAN2-ADA: generator, discriminator, augmentation, training."""
