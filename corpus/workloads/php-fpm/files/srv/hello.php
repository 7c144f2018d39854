hello from <?php echo trim(`id -un`), "\n";
