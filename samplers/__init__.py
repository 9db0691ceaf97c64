"""How timesteps, noise and trajectories are drawn, for any prior behind one small interface."""
