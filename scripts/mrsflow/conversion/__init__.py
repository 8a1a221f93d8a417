"""Raw scanner files of every vendor to checked NIfTI-MRS files in a BIDS dataset, without identity."""
